package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// Secrets as Standard Webhooks 1.0 has them: whsec_ and base64 of 24 to 64 bytes.
const (
	secretPrefix         = "whsec_"
	secretBytes          = 32
	minSecret, maxSecret = 24, 64
)

// NewSecret makes a random secret.
func NewSecret() string {
	var b [secretBytes]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return secretPrefix + base64.StdEncoding.EncodeToString(b[:])
}

// ParseSecret reads a secret into the bytes that sign. Its error, CodeInvalidBody, does not quote it.
func ParseSecret(text string) ([]byte, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(text, secretPrefix))
	if !strings.HasPrefix(text, secretPrefix) || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, gateway.FieldErrorf(gateway.CodeInvalidBody, "/secret", "/secret must be whsec_ and the base64 of %d to %d bytes", minSecret, maxSecret)
	}
	return key, nil
}

// Sign is the webhook-signature of a body: one for each key, separated by a space.
func Sign(id string, at time.Time, body []byte, keys ...[]byte) string {
	var list []string
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		list = append(list, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(list, " ")
}
