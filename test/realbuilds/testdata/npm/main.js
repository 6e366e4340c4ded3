const pad = require('left-pad');
const odd = require('is-odd');
const ms = require('ms');
console.log(pad(String(ms('1m')), 8, '0'), odd(3));
