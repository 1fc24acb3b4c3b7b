import { ImagePlus, SendHorizontal, Square, X } from "lucide-react";
import {
  type ChangeEvent,
  type ClipboardEvent,
  type DragEvent,
  type FormEvent,
  type KeyboardEvent,
  useRef,
  useState,
} from "react";
import { Button } from "@/components/Button";
import { Field } from "@/components/Field";
import { IconButton } from "@/components/IconButton";
import {
  IMAGE_TYPES,
  imageUrl,
  MAX_IMAGE_SIZE,
  MAX_IMAGES,
  MAX_TOTAL_SIZE,
  type PreparedImage,
  prepareImage,
  type Refusal,
  refusalOf,
} from "@/features/chat/images";
import { t } from "@/features/chat/text";

interface Props {
  draft: string;
  images: readonly PreparedImage[];
  /** The bytes of the images that the conversation has already. */
  sentBytes: number;
  /** The model's name, if it cannot see images. */
  blindModel: string | undefined;
  isAnswering: boolean;
  onDraft: (text: string) => void;
  onImages: (images: readonly PreparedImage[]) => void;
  onSend: () => void;
  onStop: () => void;
}

/** A file that was not attached, and why. */
interface Refused {
  name: string;
  why: Refusal;
}

const MEGABYTE = 1 << 20;
const LIMITS = {
  most: MAX_IMAGES,
  size: MAX_IMAGE_SIZE / MEGABYTE,
  total: MAX_TOTAL_SIZE / MEGABYTE,
};

/** The prompt with its images. Enter sends it, but not while a word is being composed. */
export function Composer(props: Props) {
  const { draft, images, sentBytes, isAnswering, onDraft, onImages, onSend, onStop } = props;
  const [refused, setRefused] = useState<Refused>();
  const form = useRef<HTMLFormElement>(null);

  const attach = async (files: readonly File[]) => {
    setRefused(undefined);
    let attached = images;
    for (const file of files) {
      const why = refusalOf(file, attached, sentBytes);
      const image = why === undefined ? await prepareImage(file).catch(() => undefined) : undefined;
      if (image === undefined) setRefused({ name: file.name, why: why ?? "unreadable" });
      else attached = [...attached, image];
    }
    onImages(attached);
  };
  const paste = (event: ClipboardEvent) => {
    const files = [...event.clipboardData.files];
    if (files.length === 0) return;
    event.preventDefault();
    void attach(files);
  };
  const drop = (event: DragEvent) => {
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    void attach([...event.dataTransfer.files]);
  };
  const press = (event: KeyboardEvent) => {
    // 229 is what Safari reports for the Enter that ends a composition.
    const isComposing = event.nativeEvent.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || isComposing) return;
    event.preventDefault();
    form.current?.requestSubmit();
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!isAnswering && (draft.trim() !== "" || images.length > 0)) onSend();
  };

  return (
    <form
      ref={form}
      onSubmit={submit}
      onDrop={drop}
      onDragOver={(event) => event.preventDefault()}
      className="mx-auto flex w-full max-w-[52rem] flex-col gap-2 px-4 pt-3 pb-4"
    >
      <Images {...props} />
      {refused !== undefined && (
        <p role="alert" className="text-danger-text text-sm wrap-anywhere">
          {t(`images.refused.${refused.why}`, { name: refused.name, ...LIMITS })}
        </p>
      )}
      <Field label={t("prompt.label")}>
        {(control) => (
          <textarea
            {...control}
            rows={2}
            value={draft}
            onChange={(event) => onDraft(event.target.value)}
            onKeyDown={press}
            onPaste={paste}
            className="control field-sizing-content max-h-48 min-h-14 resize-none"
          />
        )}
      </Field>
      <div className="flex flex-wrap items-center justify-between gap-2">
        <Attach onFiles={(files) => void attach(files)} />
        <p className="me-auto text-muted text-xs max-sm:sr-only">{t("prompt.keys")}</p>
        {/* One element, so that the focus stays when Stop takes the place of Send. */}
        <Button
          type={isAnswering ? "button" : "submit"}
          variant={isAnswering ? "secondary" : "primary"}
          icon={isAnswering ? Square : SendHorizontal}
          onClick={(event) => {
            // The second click of a double click on Send must not stop what the first one began.
            if (!isAnswering || event.detail > 1) return;
            event.preventDefault();
            onStop();
          }}
        >
          {t(isAnswering ? "prompt.stop" : "prompt.send")}
        </Button>
      </div>
    </form>
  );
}

function Images({ images, blindModel, onImages }: Props) {
  if (images.length === 0) return null;
  return (
    <>
      <ul aria-label={t("images.list")} className="flex flex-wrap gap-2">
        {images.map((image) => (
          <li key={image.id} className="flex items-center gap-1 rounded-lg border border-line p-1">
            <img src={imageUrl(image)} alt="" className="size-10 rounded object-cover" />
            <span className="max-w-32 truncate text-sm">{image.name}</span>
            <IconButton
              icon={X}
              label={t("images.remove", { name: image.name })}
              onClick={() => onImages(images.filter(({ id }) => id !== image.id))}
            />
          </li>
        ))}
      </ul>
      {blindModel !== undefined && (
        <p className="text-sm text-warning-text">{t("images.blind", { model: blindModel })}</p>
      )}
    </>
  );
}

function Attach({ onFiles }: { onFiles: (files: readonly File[]) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const choose = (event: ChangeEvent<HTMLInputElement>) => {
    onFiles([...(event.target.files ?? [])]);
    // The same file can be chosen again.
    event.target.value = "";
  };
  return (
    <>
      <input
        ref={input}
        type="file"
        accept={IMAGE_TYPES.join(",")}
        multiple
        hidden
        onChange={choose}
        data-testid="image-files"
      />
      <IconButton
        icon={ImagePlus}
        label={t("images.attach")}
        onClick={() => input.current?.click()}
      />
    </>
  );
}
