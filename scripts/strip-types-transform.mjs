// Jest's transform: the type stripping that runs in production (node:module), so tests run the very same code.
import { stripTypeScriptTypes } from 'node:module';
import { createHash } from 'node:crypto';

export default {
  process: (source) => ({ code: stripTypeScriptTypes(source) }),
  getCacheKey: (source, path, options) =>
    createHash('sha256').update(`${process.version}\0${path}\0${options.configString}\0${source}`).digest('hex'),
};
