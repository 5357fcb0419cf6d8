base64 -w 0 file.pdf |
  sed 's|.*|{"to": "919876543210", "message": "A file from cURL", "media": {"mimetype": "application/pdf", "data": "&", "filename": "invoice.pdf"}}|' |
  curl -X POST 'http://localhost:3001/api/algo/media' \
    -H 'x-api-key: YOUR_TOKEN' \
    -H 'Content-Type: application/json' \
    -d @-
