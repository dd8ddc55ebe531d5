// One lint for the workspace. Types and unused names are tsc's to check, layout prettier's; here stand the mistakes neither
// sees: promises nobody awaits, `any` and `!`, and imports against the direction of the flow (docs/architecture.md).
import tseslint from 'typescript-eslint';

const RELATIVE = '\\.\\.?/';

/** Only these may be imported; `regex` is a negative look-ahead, so whatever is not named is refused. */
function only(allowed, message) {
  return ['error', { patterns: [{ regex: `^(?!(?:${[RELATIVE, ...allowed].join('|')}))`, message }] }];
}

/** None of these may be imported. */
function never(forbidden, message) {
  return ['error', { patterns: [{ regex: `^(?:${forbidden.join('|')})`, message }] }];
}

const GATEWAY = ['@runpurse/gateway(?:$|/)', '(?:\\.\\./)+gateway/'];
const ADAPTERS = ['@runpurse/(?!core(?:$|/)|gateway(?:$|/))', '(?:\\.\\./)+adapters/'];
const TESTS = ['**/*.test.ts', '**/test/**'];

export default tseslint.config(
  { ignores: ['**/node_modules/', '**/dist/', '.toolchain/', '**/.runpurse/', '**/.scratch/', '**/fixtures/', 'coverage/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts', '**/*.mts'],
    extends: [tseslint.configs.base],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: 'error',
      'no-debugger': 'error',
      'no-param-reassign': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'prefer-template': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-for-in-array': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false, attributes: false } }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/no-unsafe-argument': 'error',
      '@typescript-eslint/no-unsafe-assignment': 'error',
      '@typescript-eslint/no-unsafe-call': 'error',
      '@typescript-eslint/no-unsafe-member-access': 'error',
      '@typescript-eslint/no-unsafe-return': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/prefer-promise-reject-errors': 'error',
      '@typescript-eslint/restrict-plus-operands': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    files: ['packages/core/src/**/*.ts'],
    ignores: [...TESTS, 'packages/core/src/axios/**', 'packages/core/src/fetch/**', 'packages/core/src/language-model/**'],
    rules: {
      'no-restricted-imports': only(['zod$'], 'Core is pure: it imports nothing but zod. Time, ids and transport come in as arguments.'),
      'no-restricted-globals': [
        'error',
        ...['process', 'Buffer', 'fetch', 'setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'crypto', 'console'].map(
          (name) => ({
            name,
            message: 'Core is pure and runs where this may not exist: take it as an argument.',
          }),
        ),
      ],
      'no-restricted-properties': [
        'error',
        { object: 'Date', property: 'now', message: 'Core has no clock: take the time as an argument.' },
        { object: 'Math', property: 'random', message: 'Core has no randomness: take ids as an argument.' },
      ],
    },
  },
  {
    files: ['packages/core/src/axios/**/*.ts'],
    ignores: TESTS,
    rules: {
      'no-restricted-imports': only(['axios$', 'zod$', 'node:'], 'The default transport on Node knows axios and core, nothing else.'),
    },
  },
  {
    files: ['packages/gateway/src/**/*.ts'],
    ignores: TESTS,
    rules: {
      'no-restricted-imports': never([...ADAPTERS, '(?:\\.\\./)+core/'], 'The gateway imports @runpurse/core by its name, and no adapter.'),
    },
  },
  {
    files: ['packages/adapters/*/src/**/*.ts'],
    ignores: TESTS,
    rules: {
      'no-restricted-imports': never(
        [...GATEWAY, ...ADAPTERS, '(?:\\.\\./)+core/'],
        'An adapter imports core and its framework: never the gateway, never another adapter.',
      ),
    },
  },
);
