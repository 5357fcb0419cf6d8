package wasim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"go.mau.fi/libsignal/ecc"
	"go.mau.fi/whatsmeow/proto/waCert"
	"go.mau.fi/whatsmeow/util/keys"
	"google.golang.org/protobuf/proto"
)

const certValidity = 10 * 365 * 24 * time.Hour

// noiseIdentity is what the server proves itself with: a static key and a certificate chain that ends in the root key.
type noiseIdentity struct {
	static *ecdh.PrivateKey
	chain  []byte // marshalled waCert.CertChain
}

// newNoiseIdentity makes a fresh static key and a chain signed by root: the intermediate by the root, the leaf, which
// carries the static key, by the intermediate. Signatures cover the raw details without any prefix.
func newNoiseIdentity(root *keys.KeyPair) (*noiseIdentity, error) {
	static, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the static noise key: %w", err)
	}
	const intermediateSerial, leafSerial = 1, 2
	intermediate := keys.NewKeyPair()
	interCert, err := signCert(root, intermediateSerial, 0, intermediate.Pub[:])
	if err != nil {
		return nil, err
	}
	leaf, err := signCert(intermediate, leafSerial, intermediateSerial, static.PublicKey().Bytes())
	if err != nil {
		return nil, err
	}
	chain, err := proto.Marshal(&waCert.CertChain{Intermediate: interCert, Leaf: leaf})
	if err != nil {
		return nil, fmt.Errorf("encoding the noise certificate chain: %w", err)
	}
	return &noiseIdentity{static: static, chain: chain}, nil
}

func signCert(issuer *keys.KeyPair, serial, issuerSerial uint32, key []byte) (*waCert.CertChain_NoiseCertificate, error) {
	now := time.Now()
	details, err := proto.Marshal(&waCert.CertChain_NoiseCertificate_Details{
		Serial:       proto.Uint32(serial),
		IssuerSerial: proto.Uint32(issuerSerial),
		Key:          key,
		NotBefore:    proto.Uint64(uint64(now.Add(-24 * time.Hour).Unix())),
		NotAfter:     proto.Uint64(uint64(now.Add(certValidity).Unix())),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a noise certificate: %w", err)
	}
	sig := ecc.CalculateSignature(ecc.NewDjbECPrivateKey(*issuer.Priv), details)
	return &waCert.CertChain_NoiseCertificate{Details: details, Signature: sig[:]}, nil
}

// selfSignedTLS makes the certificate of the listener. Nobody can verify it; clients are told not to try, the Noise
// chain is what authenticates the server.
func selfSignedTLS() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the TLS key: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "wasim"},
		DNSNames:     []string{"web.whatsapp.com", mediaHost, "localhost"},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Now().Add(certValidity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("signing the TLS certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
