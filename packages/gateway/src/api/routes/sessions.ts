import { z } from 'zod';
import { sessionShape } from '@runpurse/core';
import type { Gateway } from '../../gateway.ts';
import { readSession, sessionNotFound } from '../read-views.ts';
import { answer, refused, route, type AnyRoute } from '../route.ts';
import { identifier } from '../shapes.ts';

export function sessionRoutes(gateway: Gateway): readonly AnyRoute[] {
  return [
    route({
      method: 'get',
      path: '/v1/sessions/{id}',
      tag: 'sessions',
      summary: 'A session over its runs: cost, revenue, margin, budgets',
      params: z.object({ id: identifier }),
      answers: { 200: { description: 'The session as it stands now', shape: sessionShape } },
      refusals: ['not_found'],
      async handle({ params, caller }) {
        const session = await readSession(gateway, caller.workspaceId, params.id);
        return session === undefined ? refused(sessionNotFound(params.id)) : answer(session);
      },
    }),
  ];
}
