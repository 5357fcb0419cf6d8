package gateway

// SealedSecret is an encrypted value as it is stored, and the place that it is bound to.
type SealedSecret struct {
	Table, Column, Row string
	Value              []byte
}

// Tables that hold sealed secrets.
const (
	SecretsOfWebhooks = "webhook_endpoints"
	SecretsOfInbound  = "inbound_messages"
)

// ResealedSecret is what shall stand where Value of the SealedSecret stood.
type ResealedSecret struct {
	SealedSecret
	New []byte
}
