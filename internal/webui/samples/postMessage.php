<?php
$curl = curl_init();
curl_setopt_array($curl, [
  CURLOPT_URL => "http://localhost:3001/api/algo/message",
  CURLOPT_RETURNTRANSFER => true,
  CURLOPT_POST => true,
  CURLOPT_POSTFIELDS => json_encode([
    "to" => "919876543210",
    "message" => "Hello from PHP!"
  ]),
  CURLOPT_HTTPHEADER => [
    "Content-Type: application/json",
    "x-api-key: YOUR_TOKEN"
  ],
]);

$response = curl_exec($curl);
curl_close($curl);
echo $response;
