import { texts } from "@/lib/text";
import en from "@/locales/en/users.json";

export const t = texts("users", en);
