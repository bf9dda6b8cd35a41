import { Download } from "lucide-react";
import { asApiError, download, type Schemas } from "@/api";
import { bytes } from "@/lib/format";
import { Button, Digest, toast } from "@/ui";

interface FileListProps {
  files: readonly Schemas["ArtifactFile"][];
  /** The path that they are downloaded below; without one they can't be. */
  below?: string | false;
  /** Of each row: the padding that its surroundings want. */
  className?: string;
}

/** Files by name, size and hash, each to be downloaded. */
export function FileList({ files, below, className }: FileListProps) {
  return (
    <ul>
      {files.map((file) => (
        <li key={file.name} className={`flex min-h-10 items-center gap-3 text-xs ${className}`}>
          <span className="min-w-0 flex-1 truncate" title={file.name}>{file.name}</span>
          <span className="shrink-0 text-muted">{bytes(file.size_bytes)}</span>
          <Digest value={file.sha256} length={8} />
          {below && <Fetch path={`${below}/${encodeURIComponent(file.name)}`} name={file.name} />}
        </li>
      ))}
    </ul>
  );
}

function Fetch({ path, name }: { path: string; name: string }) {
  const fetch = () => download(path, name).catch((thrown: unknown) => toast(asApiError(thrown).message));
  return <Button variant="ghost" size="icon" aria-label={`Download ${name}`} onClick={() => void fetch()}><Download aria-hidden /></Button>;
}
