/** The part of the page that is in the URL. Never what was asked. */
export interface ChatSearch {
  model?: string;
  /** Whether the settings are shown. */
  settings?: boolean;
}

/** Changes some search parameters and keeps the others; undefined removes one. */
export type ChangeSearch = (
  change: {
    [Key in keyof ChatSearch]: ChatSearch[Key] | undefined;
  },
) => void;
