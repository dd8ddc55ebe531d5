/** One jest for the whole workspace. Sources are TypeScript as Node runs it: types stripped, ES modules. */
export default {
  testEnvironment: 'node',
  testEnvironmentOptions: { customExportConditions: ['runpurse-source', 'node', 'node-addons', 'import', 'default'] },
  extensionsToTreatAsEsm: ['.ts', '.mts'],
  transform: { '\\.m?ts$': '<rootDir>/scripts/strip-types-transform.mjs' },
  testMatch: ['**/*.test.ts', '**/*.test.mts'],
  testPathIgnorePatterns: ['/node_modules/', '/dist/', '/.toolchain/'],
  modulePathIgnorePatterns: ['/dist/', '<rootDir>/.toolchain/', '<rootDir>/.runpurse/'],
  testTimeout: 60_000,
};
