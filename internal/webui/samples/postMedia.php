<?php
$b64 = base64_encode(file_get_contents("file.jpg"));

$payload = [
    "to" => "919876543210",
    "message" => "Image from PHP",
    "media" => [
        "mimetype" => "image/jpeg",
        "data" => $b64,
        "filename" => "photo.jpg"
    ]
];

$curl = curl_init();
curl_setopt_array($curl, [
  CURLOPT_URL => "http://localhost:3001/api/algo/media",
  CURLOPT_RETURNTRANSFER => true,
  CURLOPT_POST => true,
  CURLOPT_POSTFIELDS => json_encode($payload),
  CURLOPT_HTTPHEADER => [
    "Content-Type: application/json",
    "x-api-key: YOUR_TOKEN"
  ],
]);

$response = curl_exec($curl);
curl_close($curl);
echo $response;
