curl -X POST 'http://localhost:3001/api/algo/message' \
  -H 'x-api-key: YOUR_TOKEN' \
  -H 'Content-Type: application/json' \
  -d '{"to": "919876543210", "message": "Hello from cURL!"}'
