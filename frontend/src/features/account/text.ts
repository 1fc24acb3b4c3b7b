import { texts } from "@/lib/text";
import en from "@/locales/en/account.json";

export const t = texts("account", en);
