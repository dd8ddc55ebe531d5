import { z } from 'zod';
import type { Gateway } from '../../gateway.ts';
import { answer, route, type AnyRoute } from '../route.ts';

const modelShape = z.object({ id: z.string(), object: z.literal('model'), created: z.number().int(), owned_by: z.string() });

/** `GET /v1/models` as OpenAI clients read it: `provider/model`, which is what `model` takes. */
export function modelRoutes(gateway: Gateway): readonly AnyRoute[] {
  return [
    route({
      method: 'get',
      path: '/v1/models',
      tag: 'models',
      summary: 'Models of the configured providers',
      answers: { 200: { description: "OpenAI's list", shape: z.object({ object: z.literal('list'), data: z.array(modelShape) }) } },
      handle: () =>
        answer({
          object: 'list',
          data: gateway.providers
            .models()
            .map(({ provider, model }) => ({ id: `${provider}/${model}`, object: 'model' as const, created: 0, owned_by: provider })),
        }),
    }),
  ];
}
