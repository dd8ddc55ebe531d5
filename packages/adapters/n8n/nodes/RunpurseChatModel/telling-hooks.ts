/** LangChain's model as far as it is touched here. */
interface Model {
  _generate(...given: unknown[]): Promise<{ readonly generations: readonly Generation[] }>;
  _streamResponseChunks(...given: unknown[]): AsyncIterable<Generation>;
  bindTools(...given: unknown[]): unknown;
}

interface Generation {
  generationInfo?: Record<string, unknown>;
}

/**
 * Writes into n8n's record of each call whether its tools were asked for. The hooks file reads it afterwards: of a tool that
 * nobody asked for it tells the gateway, of any other the gateway knows. Wiring does not say it: beside a fallback model,
 * or with an expression for Ask Before Tools, only the call itself does; and an agent that gave its model no tools reads
 * them out of its text, where nobody asks for them.
 */
export function tellingHooks(response: unknown, gatesTools: boolean, hasTools = false): unknown {
  const asksBeforeTools = gatesTools && hasTools;
  const model = response as Model;
  const { _generate: generate, _streamResponseChunks: stream, bindTools: bind } = model;
  const mark = (generation: Generation): void => void (generation.generationInfo = { ...generation.generationInfo, asksBeforeTools });
  model._generate = async (...given) => {
    const result = await generate.apply(model, given);
    result.generations.forEach(mark);
    return result;
  };
  model._streamResponseChunks = async function* (...given) {
    for await (const chunk of stream.apply(model, given)) {
      // The last piece; LangChain adds the others' up.
      if (chunk.generationInfo !== undefined) mark(chunk);
      yield chunk;
    }
  };
  model.bindTools = (...given) => tellingHooks(bind.apply(model, given), gatesTools, true);
  return model;
}
