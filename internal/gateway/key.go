package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// NewKeySecret makes a new API key: "wah_" and 256 random bits. It is shown once and stored as HashKey of it.
func NewKeySecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return "wah_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// HashKey is the stored form of an API key. Keys carry 256 random bits, so a fast hash is as good as a slow one.
func HashKey(key string) [32]byte { return sha256.Sum256([]byte(key)) }
