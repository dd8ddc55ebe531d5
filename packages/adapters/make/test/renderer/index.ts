export { APP_FOLDER, loadApp, type App, type Component } from './app.ts';
export {
  mappingsOf,
  modulesOf,
  OURS,
  playBlueprint,
  type Blueprint,
  type BlueprintModule,
  type OtherModules,
  type Played,
  type ScenarioEnd,
} from './blueprint.ts';
export { MakeError } from './make-error.ts';
export { openConnection, type Bundle, type Player, type PlayerOptions, type PollState } from './play.ts';
