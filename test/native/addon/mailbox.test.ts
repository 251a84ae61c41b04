import { describeMailbox } from '../../helpers/addon/mailbox.js';

describeMailbox('address,undefined');
