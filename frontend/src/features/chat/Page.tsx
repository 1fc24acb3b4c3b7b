import { useQuery } from "@tanstack/react-query";
import { SlidersHorizontal, SquarePen } from "lucide-react";
import { useCallback, useState } from "react";
import { useProfile } from "@/api/me";
import { capabilitiesQuery, ownModelsQuery } from "@/api/own-models";
import { Button } from "@/components/Button";
import { ModelField } from "@/components/ModelField";
import { PageHeader } from "@/components/PageHeader";
import "@/features/chat/chat.css";
import { Composer } from "@/features/chat/Composer";
import {
  ask,
  changeConversation,
  clear,
  isAnswering,
  retry,
  stop,
  useConversation,
} from "@/features/chat/conversation";
import { Messages } from "@/features/chat/Messages";
import { SettingsPanel } from "@/features/chat/SettingsPanel";
import type { ChangeSearch, ChatSearch } from "@/features/chat/search";
import { countSettings, readSettings } from "@/features/chat/settings";
import { t } from "@/features/chat/text";
import type { Turn } from "@/features/chat/turns";

interface Props {
  search: ChatSearch;
  onSearch: ChangeSearch;
}

export function ChatPage({ search, onSearch }: Props) {
  const owner = useProfile().id;
  const conversation = useConversation(owner);
  const models = useQuery(ownModelsQuery);
  const model = search.model ?? models.data?.find((each) => !each.isEmbedder)?.name ?? "";
  const capabilities = useQuery(capabilitiesQuery(model)).data ?? null;
  const [isModelMissing, setIsModelMissing] = useState(false);
  const { turns, fields, draft, images } = conversation;
  const isBusy = isAnswering(conversation);
  const isOpen = search.settings === true;
  const changed = countSettings(fields);

  const mayAsk = useCallback(() => {
    setIsModelMissing(model === "");
    const isWrong = readSettings(fields).wrong.length > 0;
    // The settings show what is wrong with them.
    if (isWrong) onSearch({ settings: true });
    return model !== "" && !isWrong;
  }, [model, fields, onSearch]);
  const onRetry = useCallback(() => {
    if (mayAsk()) retry(model);
  }, [mayAsk, model]);

  return (
    <>
      <PageHeader title={t("page.title")} description={t("page.description")} />
      <div className="card grid min-h-[30rem] grid-cols-[minmax(0,1fr)] grid-rows-[auto_minmax(0,1fr)] overflow-hidden lg:h-[calc(100dvh-9.25rem)]">
        <div className="flex flex-wrap items-end gap-2 border-line border-b px-4 py-3">
          <div className="min-w-0 grow basis-56 sm:max-w-80">
            <ModelField
              label={t("model.label")}
              choices={models.data?.map(({ name, isEmbedder }) => ({
                name,
                isSuited: !isEmbedder,
              }))}
              groups={{ suited: t("model.suited"), others: t("model.others") }}
              error={models.error}
              onReload={() => void models.refetch()}
              value={model}
              onChange={(to) => onSearch({ model: to })}
              problem={isModelMissing && model === "" ? t("model.required") : undefined}
            />
          </div>
          <div className="flex flex-wrap gap-2 sm:ms-auto">
            <Button
              icon={SlidersHorizontal}
              aria-expanded={isOpen}
              onClick={() => onSearch({ settings: isOpen ? undefined : true })}
            >
              {changed === 0 ? t("settings.open") : t("settings.openChanged", { count: changed })}
            </Button>
            <Button icon={SquarePen} disabled={turns.length === 0} onClick={clear}>
              {t("page.new")}
            </Button>
          </div>
        </div>
        <div className="flex min-h-0 min-w-0 flex-col lg:flex-row">
          {isOpen && (
            <div className="border-line max-lg:border-b lg:order-last lg:w-80 lg:shrink-0 lg:overflow-y-auto lg:border-s">
              <SettingsPanel
                fields={fields}
                onChange={(to) => changeConversation(owner, { fields: to })}
                onClose={() => onSearch({ settings: undefined })}
                capabilities={capabilities}
              />
            </div>
          )}
          <div className="flex min-h-0 min-w-0 flex-col max-lg:h-[max(24rem,calc(100dvh-20rem))] lg:flex-1">
            <Messages turns={turns} isBusy={isBusy} onRetry={onRetry} />
            <div className="border-line border-t">
              <Composer
                draft={draft}
                images={images}
                sentBytes={bytesOf(turns)}
                blindModel={capabilities?.includes("vision") === false ? model : undefined}
                isAnswering={isBusy}
                onDraft={(text) => changeConversation(owner, { draft: text })}
                onImages={(to) => changeConversation(owner, { images: to })}
                onSend={() => {
                  if (mayAsk()) ask(owner, model);
                }}
                onStop={stop}
              />
            </div>
          </div>
        </div>
      </div>
    </>
  );
}

/** The size of all images that were sent. */
function bytesOf(turns: readonly Turn[]): number {
  const images = turns.flatMap((turn) => (turn.role === "user" ? turn.images : []));
  return images.reduce((size, image) => size + image.size, 0);
}
