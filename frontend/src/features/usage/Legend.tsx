import { fillOf } from "@/features/usage/colours";
import { t } from "@/features/usage/text";
import { modelName } from "@/lib/names";

interface Props {
  models: readonly string[];
  /** Whether there are models without a colour of their own. */
  hasOthers: boolean;
}

/** Which colour is which model. */
export function Legend({ models, hasOthers }: Props) {
  const names = [...models.map(modelName), ...(hasOthers ? [t("otherModels")] : [])];
  return (
    <ul aria-label={t("legend")} className="flex flex-wrap gap-x-4 gap-y-1 text-muted text-sm">
      {names.map((name, index) => (
        <li key={name} className="flex min-w-0 items-center gap-1.5">
          <svg aria-hidden="true" className="size-2.5 shrink-0">
            <rect width="100%" height="100%" rx="2" className={fillOf(index, models.length + 1)} />
          </svg>
          <span className="min-w-0 wrap-anywhere">{name}</span>
        </li>
      ))}
    </ul>
  );
}
