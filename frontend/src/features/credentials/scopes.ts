import { SCOPES } from "@/features/credentials/search";

/** The scopes for using models come first; a key without a word about scopes gets them. */
const USE_COUNT = 4;

export const DEFAULT_SCOPES = SCOPES.slice(0, USE_COUNT);
export const MANAGE_SCOPES = SCOPES.slice(USE_COUNT);
