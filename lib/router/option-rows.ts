import { checkNumber, MAX_BLOCK_TOKENS, MAX_U32 } from '../check.js';
import { custom, integer, type Option } from '../options.js';

/** Rows that several option tables of the router have. */

export const blockSizeRow: Option<number> = integer(1, MAX_BLOCK_TOKENS).about('Tokens in a block.');

export const dpRankRow: Option<number> = integer(0, MAX_U32).about('The data-parallel rank.');

/** Any number, including infinities. */
export const anyNumber: Option<number> = custom('a number', checkNumber, 'number');
