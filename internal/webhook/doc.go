// Package webhook tells customers' software what has happened: it gives events their place in the stream of their tenant, signs them by Standard
// Webhooks, posts them, and backs off. It imports the domain and the loop only. It promises that each event is posted to each webhook that wants it
// at least once or is given up after gateway.WebhookAttempts, always under the same id and with the same body; that of one message the next
// event is posted after the one before was taken or given up; and that no webhook holds up another.
package webhook
