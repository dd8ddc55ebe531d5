import { METADATA_FIELDS, type EventMetadata } from '../events/metadata.ts';
import { EVENT_LIMITS } from '../events/raw-event.ts';
import { utf8ByteLength } from './byte-length.ts';

const TEXT_MAX = 500;
/** Room the gateway needs for what it adds (policy, adapter, ids of other dialects). */
const BYTES_MAX = EVENT_LIMITS.metadataBytes - 1_536;

/**
 * Metadata that fits the protocol's limit: a gateway refuses a whole batch for one event that is too fat. Keys that carry
 * meaning stay, with long texts cut; of the others those that fit stay, in their order.
 */
export function trimMetadata(metadata: EventMetadata): { readonly metadata: EventMetadata; readonly wasTrimmed: boolean } {
  if (size(metadata) <= BYTES_MAX) return { metadata, wasTrimmed: false };
  const kept: Record<string, unknown> = { metadata_truncated: true };
  let bytes = size(kept);
  const entries = Object.entries(metadata);
  for (const meansSomething of [true, false]) {
    for (const [key, value] of entries) {
      if (Object.hasOwn(METADATA_FIELDS, key) !== meansSomething) continue;
      const short = typeof value === 'string' && value.length > TEXT_MAX ? `${value.slice(0, TEXT_MAX).toWellFormed()}…` : value;
      const more = size({ [key]: short });
      if (bytes + more > BYTES_MAX) continue;
      kept[key] = short;
      bytes += more;
    }
  }
  return { metadata: kept, wasTrimmed: true };
}

function size(value: unknown): number {
  return utf8ByteLength(JSON.stringify(value));
}
