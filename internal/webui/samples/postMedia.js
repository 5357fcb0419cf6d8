const axios = require('axios');
const fs = require('fs');

const sendMedia = async () => {
  const response = await axios.post('http://localhost:3001/api/algo/media', {
    to: '919876543210',
    message: 'Check out this document!',
    media: {
      mimetype: 'application/pdf',
      data: fs.readFileSync('file.pdf', 'base64'), // The base64 data without prefix
      filename: 'invoice.pdf'
    }
  }, {
    headers: { 'x-api-key': 'YOUR_TOKEN' }
  });
  console.log(response.data);
};

sendMedia();
