/** A process that has the file store of a folder open until it is killed or its input ends: `node holder.mjs FOLDER SERVER USER`. */
import { fileStore } from "../../src/file.ts";

const [folder = "", server = "", user = ""] = process.argv.slice(2);
await fileStore(folder)({ server, user });
process.stdin.on("end", () => process.exit(0)).resume(); // whoever started this is gone
process.stdout.write("open\n");
