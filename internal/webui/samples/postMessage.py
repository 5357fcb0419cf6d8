import requests

url = "http://localhost:3001/api/algo/message"
payload = {
    "to": "919876543210",
    "message": "Hello from Python!"
}
headers = {
    "x-api-key": "YOUR_TOKEN"
}

response = requests.post(url, json=payload, headers=headers)
print(response.json())
