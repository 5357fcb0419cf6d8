package gateway

// Upload is a file as WhatsApp's media servers keep it: encrypted, under a key that goes to its recipients.
type Upload struct {
	SHA256     string // of the file, hex
	Kind       string // of media, as WhatsApp derives keys for it; the same file is uploaded once for each
	URL        string
	DirectPath string
	MediaKey   []byte
	EncSHA256  []byte
	Size       int64 // of the file, in bytes
}
