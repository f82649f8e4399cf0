#!/bin/sh -e
# What an agent types: a picture, and a film of that picture. Prints both paths.
#
#   examples/agent.sh 'a red fox in the snow' 'slow push-in'
look=${1:?what shall be seen?}
move=${2:?what shall the camera do?}

explain() {
  case $1 in
    77) echo "Ask the person to sign in to Stella; then run this again." ;;
    124) echo "It is not done yet; the file will be in the gallery when it is." ;;
    *) echo "It failed; the reason is above." ;;
  esac >&2
  exit "$1"
}

# The request goes through stdin, so that no word in it means anything to the shell.
picture=$(jq --null-input --arg prompt "$look" \
  '{capability: "text_to_image", $prompt, aspectRatio: "16:9"}' |
  stella-media generate --wait --request-file - --json) || explain $?
picture=$(printf %s "$picture" | jq --raw-output '.files[0].path')
echo "$picture"

film=$(base64 <"$picture" | tr -d '\n' | jq --raw-input --arg prompt "$move" \
  '{capability: "image_to_video", $prompt, source: {mimeType: "image/png", base64: .}}' |
  stella-media generate --wait --request-file - --json) || explain $?
printf %s "$film" | jq --raw-output '.files[0].path'
