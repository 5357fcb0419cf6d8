import requests
import base64

url = "http://localhost:3001/api/algo/media"

# Convert file to base64
with open("file.pdf", "rb") as f:
    encoded_string = base64.b64encode(f.read()).decode('utf-8')

payload = {
    "to": "919876543210",
    "message": "Here is the file",
    "media": {
        "mimetype": "application/pdf",
        "data": encoded_string,
        "filename": "document.pdf"
    }
}
headers = { "x-api-key": "YOUR_TOKEN" }

response = requests.post(url, json=payload, headers=headers)
print(response.json())
