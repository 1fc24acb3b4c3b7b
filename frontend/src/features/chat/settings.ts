/** What a user may set for the next questions. An absent value is left to the model. */
export interface Settings {
  system?: string | undefined;
  temperature?: number | undefined;
  topP?: number | undefined;
  seed?: number | undefined;
  maxTokens?: number | undefined;
  thinking?: "on" | "off" | undefined;
}

/** The numbers among the settings, in the order of the form. */
export const NUMBERS = ["temperature", "topP", "maxTokens", "seed"] as const;

type NumberName = (typeof NUMBERS)[number];

/** The settings as they are typed. Empty: left to the model. */
export type SettingsFields = Record<NumberName | "system" | "thinking", string>;

export const NO_FIELDS: SettingsFields = {
  system: "",
  temperature: "",
  topP: "",
  seed: "",
  maxTokens: "",
  thinking: "",
};

interface Rule {
  min: number;
  max: number;
  isWhole: boolean;
}

const RULES: Record<NumberName, Rule> = {
  temperature: { min: 0, max: 2, isWhole: false },
  topP: { min: 0, max: 1, isWhole: false },
  seed: { min: 0, max: 2 ** 31 - 1, isWhole: true },
  maxTokens: { min: 1, max: 1_000_000, isWhole: true },
};

export interface ReadSettings {
  settings: Settings;
  /** The fields whose text breaks their rule. They are left out of `settings`. */
  wrong: NumberName[];
}

export function readSettings(fields: SettingsFields): ReadSettings {
  const wrong: NumberName[] = [];
  const number = (name: NumberName) => {
    const text = fields[name].trim().replace(",", ".");
    if (text === "") return undefined;
    if (follows(RULES[name], text)) return Number(text);
    wrong.push(name);
    return undefined;
  };
  const { system, thinking } = fields;
  const settings: Settings = {
    temperature: number("temperature"),
    topP: number("topP"),
    seed: number("seed"),
    maxTokens: number("maxTokens"),
    ...(system.trim() !== "" && { system }),
    ...((thinking === "on" || thinking === "off") && { thinking }),
  };
  return { settings, wrong };
}

/** How many settings differ from the model's own. */
export function countSettings(fields: SettingsFields): number {
  return Object.values(fields).filter((text) => text.trim() !== "").length;
}

function follows({ min, max, isWhole }: Rule, text: string): boolean {
  const form = isWhole ? /^\d+$/ : /^\d*\.?\d+$/;
  const value = Number(text);
  return form.test(text) && value >= min && value <= max;
}
