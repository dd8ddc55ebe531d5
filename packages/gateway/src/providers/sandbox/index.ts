export { SANDBOX_ATTEMPT_HEADER, SANDBOX_ECHO_MODEL, startSandbox, type Sandbox, type SandboxOptions } from './server.ts';
export { sandboxScripts, type SandboxScript, type SandboxScripts, type ScriptedReply } from './script.ts';
