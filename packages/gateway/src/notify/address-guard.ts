import { lookup as lookUp, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** Whether webhooks may go to addresses of the operator's own network (`webhooks.private_addresses`). */
export type PrivateAddresses = 'allow' | 'refuse';

/** Never a receiver: unspecified, link-local (where clouds serve their credentials), multicast, broadcast. */
const NEVER = blockList(
  ['0.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4', '100.100.100.200/32'],
  ['::/128', 'fe80::/10', 'ff00::/8', 'fd00:ec2::254/128', '64:ff9b::a9fe:0/112', '2002:a9fe::/32'],
);
/** Loopback, private and shared ranges, documentation and benchmark ranges, and what leads to them by translation. */
const PRIVATE = blockList(
  [
    ...['10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '172.16.0.0/12', '192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24'],
    ...['192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ],
  ['::1/128', 'fc00::/7', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32', '2002::/16'],
);

function blockList(v4: readonly string[], v6: readonly string[]): BlockList {
  const list = new BlockList();
  for (const [subnets, family] of [
    [v4, 'ipv4'],
    [v6, 'ipv6'],
  ] as const) {
    for (const subnet of subnets) {
      const [address = '', bits] = subnet.split('/');
      list.addSubnet(address, Number(bits), family);
    }
  }
  return list;
}

/** Why a webhook may not go to this address; undefined when it may. An IPv4 address inside an IPv6 one is judged as itself. */
export function forbiddenAddress(address: string, privateAddresses: PrivateAddresses): string | undefined {
  const plain = address.replace(/^\[|\]$/g, '').replace(/%.*$/, '');
  const family = isIP(plain) === 6 ? 'ipv6' : 'ipv4';
  if (NEVER.check(plain, family)) return 'link-local, unspecified and multicast addresses take no webhooks';
  if (privateAddresses === 'refuse' && PRIVATE.check(plain, family))
    return 'this gateway sends webhooks to public addresses only (webhooks.private_addresses in runpurse.yaml)';
  return undefined;
}

/** Told apart from a name that does not resolve. */
export class ForbiddenAddressError extends Error {}

/**
 * Resolves a receiver's name for the very connection that is made, so that a name which answers differently the second time
 * gets nothing past the check. One forbidden address among several refuses them all.
 */
export function guardedLookup(privateAddresses: PrivateAddresses, resolve: typeof lookUp = lookUp): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, '', 0);
      for (const { address } of addresses) {
        const reason = forbiddenAddress(address, privateAddresses);
        if (reason !== undefined) return callback(new ForbiddenAddressError(reason), '', 0);
      }
      if (options.all === true) return callback(null, addresses, 0);
      const [first] = addresses;
      return first === undefined ? callback(new Error('no address'), '', 0) : callback(null, first.address, first.family);
    });
  };
}
