import type { CardDetails } from './card.ts';
import { dearest, nanosPerMillion, nanosPerMillionFromThousand } from './rates.ts';

const INPUT = nanosPerMillion(1);
const OUTPUT = nanosPerMillion(2);

/**
 * What every model of the built-in `sandbox` provider costs, so that demos, examples and tests have round figures to
 * check: 1 USD per million tokens in, 2 out, cache reads 0.1, cache writes 1.25 (an hour 2), 10 USD per thousand searches.
 */
export const SANDBOX_PRICES: Omit<CardDetails, 'now'> = {
  source: 'sandbox',
  version: '1',
  outputTokensMax: 16_384,
  inputTokensMax: 200_000,
  plans: [
    {
      constraint: undefined,
      tiers: [
        {
          above: -1,
          rates: {
            input: INPUT,
            cacheRead: nanosPerMillion(0.1),
            cacheWrite5m: nanosPerMillion(1.25),
            cacheWrite1h: nanosPerMillion(2),
            audioInput: dearest(INPUT, nanosPerMillion(1.25)),
            output: OUTPUT,
            audioOutput: OUTPUT,
            webSearch: nanosPerMillionFromThousand(10),
            request: 0n,
          },
        },
      ],
    },
  ],
};
