import { texts } from "@/lib/text";
import en from "@/locales/en/chat.json";

export const t = texts("chat", en);
