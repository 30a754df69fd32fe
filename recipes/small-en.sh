#!/bin/sh
# What small-en is trained on, by verbs alone: Wikinews and novels from before 1940 -> vocabularies of 8,192 and 16,384
# pieces -> a store of each. Every verb goes on where it was interrupted.
#   sh recipes/small-en.sh FOLDER_OF_CORPORA runs/small-en-text
set -e
corpora=${1:?folder of en-wikinews.txt.xz and en-novels.txt.xz} out=${2:-runs/small-en-text} didact=${DIDACT:-.venv/bin/didact}
texts="$corpora/en-wikinews.txt.xz $corpora/en-novels.txt.xz"
mkdir -p "$out"
for pieces in 8192 16384; do
    [ -e "$out/tokenizer-$pieces/tokenizer.json" ] ||
        $didact tokenizer $texts --kind wordpiece --vocab "$pieces" --cased --out "$out/tokenizer-$pieces"
    [ -e "$out/store-$pieces/store.json" ] ||
        $didact prepare $texts --tokenizer "$out/tokenizer-$pieces" --out "$out/store-$pieces" --validation 0.01
done
