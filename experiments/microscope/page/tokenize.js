// Texts to tokens, as Python does it. An entry is {text, token, isKnown}; a token is a list of the
// rows of the embedding whose mean is read, {x: numbers}, or null for a word that is not read.
"use strict";
const Tokenize = (() => {
  const WORD = String.raw`[\p{L}\p{N}_][\p{L}\p{N}_\p{M}\u200c\u200d]*`;
  const PLAIN = new RegExp(`${WORD}(?:['\u2019-]${WORD})*`, "gu");

  const INVISIBLE = new RegExp("[\u00ad\u061c\u180e\u200e\u200f\u202a-\u202e\u2060-\u2064" +
    "\u2066-\u2069\ufeff]", "gu");
  const LETTER = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]`;
  const SIGN = String.raw`[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{White_Space}\u200b\u200c\u200d]`;
  const SIGNED = new RegExp(
    String.raw`(?!\p{M})${LETTER}+(?:(?:['\u2019]|[\u200c\u200d]+)${LETTER}+)*` +
    String.raw`|${SIGN}(?:\p{M}|[\u200c\u200d]*${SIGN})*`, "gu");

  // As `encode_numbers` reads them: separated by spaces or commas.
  const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\*?$/i;

  const CRC = Uint32Array.from({length: 256}, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  const bytesOf = new TextEncoder();

  function crc32(text) {
    let crc = 0xffffffff;
    for (const byte of bytesOf.encode(text)) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
    return (crc ^ 0xffffffff) >>> 0;
  }

  function ngrams(word, least, most) {
    const signs = Array.from(`<${word}>`), found = [];
    for (let size = least; size <= most; size++) {
      for (let start = 0; start + size <= signs.length; start++) {
        found.push(signs.slice(start, start + size).join(""));
      }
    }
    return found;
  }

  function splitWithNgrams(text) {
    const plain = text.normalize("NFKC").replace(INVISIBLE, "").toLowerCase()
      .replace(/https?:\/\/\P{White_Space}+/gu, " http ");
    return plain.match(SIGNED) || [];
  }

  // The function text -> entries of a page's `tokens`.
  function make(tokens) {
    if (tokens.kind === "numbers") {
      return (text) => text.split(/[\s,]+/).filter(Boolean).map((word) => {
        const x = [parseFloat(word), word.endsWith("*") ? 1 : 0];
        const isKnown = NUMBER.test(word) && Number.isFinite(x[0]);
        return {text: word, token: isKnown ? {x} : null, isKnown};
      });
    }
    const number = new Map(tokens.vocabulary.map((word, row) => [word, row]));
    if (tokens.kind === "words") {
      return (text) => (text.toLowerCase().match(PLAIN) || []).map((word) => {
        const row = number.has(word) ? number.get(word) : tokens.unknown;
        return {text: word, token: row === null ? null : [row], isKnown: number.has(word)};
      });
    }
    const [least, most] = tokens.sizes, first = tokens.vocabulary.length;
    return (text) => splitWithNgrams(text).map((word) => {
      const rows = [number.has(word) ? number.get(word) : 1];
      if (tokens.buckets) {
        rows.push(...ngrams(word, least, most).map((gram) => first + crc32(gram) % tokens.buckets));
      }
      const token = rows.slice(0, tokens.width).filter((row) => row > 0);
      return {text: word, token, isKnown: number.has(word)};
    });
  }

  return {crc32, make};
})();
