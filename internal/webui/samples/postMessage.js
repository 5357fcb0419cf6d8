const axios = require('axios');

const sendMessage = async () => {
  const response = await axios.post('http://localhost:3001/api/algo/message', {
    to: '919876543210',
    message: 'Hello from Node.js!'
  }, {
    headers: { 'x-api-key': 'YOUR_TOKEN' }
  });
  console.log(response.data);
};

sendMessage();
