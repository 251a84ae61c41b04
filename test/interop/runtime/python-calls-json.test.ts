import { testPythonCalls } from '../../helpers/interop/python-calls.js';

testPythonCalls('json');
