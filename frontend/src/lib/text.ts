import i18next from "i18next";

/** The paths of all texts in a locale file. A plural has one path, without `_one` or `_other`. */
export type TextKey<Bundle> = WithoutPlural<Path<Bundle>>;

type Path<Bundle> = {
  [Key in keyof Bundle & string]: Bundle[Key] extends string ? Key : `${Key}.${Path<Bundle[Key]>}`;
}[keyof Bundle & string];

type WithoutPlural<Key> = Key extends `${infer Base}_${"one" | "other"}` ? Base : Key;

type Values = Record<string, string | number>;

const i18n = i18next.createInstance();

void i18n.init({
  lng: "en",
  resources: {},
  initAsync: false,
  // React escapes.
  interpolation: { escapeValue: false },
});

/**
 * The texts of a feature: `const t = texts("users", en)`, then `t("settings.save")`. A feature
 * registers its own locale file, so that the file is loaded with the feature's chunk.
 */
export function texts<Bundle extends object>(namespace: string, bundle: Bundle) {
  i18n.addResourceBundle("en", namespace, bundle);
  const translate = i18n.getFixedT("en", namespace);
  return (key: TextKey<Bundle>, values: Values = {}): string => translate(key, values);
}
