import { testPythonCalls } from './python-calls.js';

testPythonCalls('msgpack');
