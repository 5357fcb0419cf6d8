// Package wa is the only production importer of whatsmeow: it connects, pairs, uploads, sends and reports events, in
// gateway's terms. Retries, reconnects and statuses are other rooms' work.
//
// It promises two things whatsmeow alone does not. A nil error of Send means that ciphertext for the recipient's own
// phone was made, stored and acknowledged (guard.go, proof.go). And every write to a Signal store is preceded by a check of the
// session's lease, so that a worker that lost it cannot roll a ratchet back.
package wa
