/** The part of the page that is in the URL. */
export interface UsersSearch {
  q?: string;
  page?: number;
  /** The id of the user whose settings are shown. */
  selected?: number;
}

/** Changes some search parameters and keeps the others; undefined removes one. */
export type ChangeSearch = (
  change: { [Key in keyof UsersSearch]: UsersSearch[Key] | undefined },
  options?: { replace: boolean },
) => void;
