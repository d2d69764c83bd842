#!/bin/sh
# manual.sh DIRECTORY VERSION UNDERSTUDY UNDERSTUDYD: manual pages from what the programs say of themselves,
# one for each and one for each command. Needs help2man.
set -eu
directory=$1 version=$2 understudy=$3 understudyd=$4

page() { # NAME WHAT PROGRAM
  help2man --no-info --section=8 --manual=Understudy --source="understudy $version" \
    --version-string="$version" --name="$2" --output="$directory/$1.8" "$3"
}
mkdir -p "$directory"
page understudyd "keeps guests alive through the death of their host" "$understudyd"
page understudy "guests that survive their hosts" "$understudy"
"$understudy" complete -- "" | while read -r command; do
  page "understudy-$command" "$("$understudy" "$command" --help | head -n 1)" "$understudy $command"
done
