#!/bin/sh -e
# Orders a picture, waits for it and saves it, with curl and jq alone.
#
#   STELLA_API=https://... STELLA_TOKEN=... examples/curl.sh 'a red fox' fox.png
prompt=${1:?what shall it show?}
file=${2:?where shall it go?}
key=$(date +%s)-$$ # sent again with the same key, an order is still one job

gateway() {
  path=$1
  shift
  curl --silent --show-error --fail-with-body --retry 3 \
    --header "Authorization: Bearer $STELLA_TOKEN" "$@" "$STELLA_API/api/media/v1/$path"
}

job=$(jq --null-input --arg prompt "$prompt" '{capability: "text_to_image", $prompt}' |
  gateway generate --header 'Content-Type: application/json' \
    --header "Idempotency-Key: $key" --data @- | jq --raw-output .jobId)

while row=$(gateway "job?jobId=$job"); do
  case $(printf %s "$row" | jq --raw-output .status) in
    succeeded) break ;;
    failed | cancel*) printf %s "$row" | jq --raw-output '.error.message // .status' >&2 && exit 1 ;;
    *) sleep 1 ;;
  esac
done

url=$(printf %s "$row" | jq --raw-output '.output.images[0].url')
curl --silent --show-error --fail --output "$file" "$url"
echo "$file"
