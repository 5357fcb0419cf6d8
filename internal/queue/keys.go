package queue

import (
	"fmt"

	"github.com/wapro/hub/internal/gateway"
)

// taskType is the one kind of task there is.
const taskType = "message"

// Names of our own in Redis, beside asynq's.
const (
	wakeChannel = "hub:wake"  // pub/sub: tenant keys that got tickets, separated by commas
	wokenSet    = "hub:woken" // ZSET tenant key -> ms of the last enqueue: repairs lost signals
)

// queueName is the asynq queue of a tenant's lane.
func queueName(tenantKey int64, lane gateway.Priority) string {
	if lane == gateway.PriorityNormal {
		return fmt.Sprintf("t:%d", tenantKey)
	}
	return fmt.Sprintf("t:%d:%s", tenantKey, lane)
}

// queueWeights are asynq's strict priorities for some lanes of a tenant: the highest is served first.
func queueWeights(tenantKey int64, lanes []gateway.Priority) map[string]int {
	weights := make(map[string]int, len(lanes))
	for i, lane := range lanes {
		weights[queueName(tenantKey, lane)] = len(lanes) - i
	}
	return weights
}

// asynqKey is one of asynq's Redis keys of a queue ("pending", "active", "scheduled", "retry", "lease" ...). The layout
// is asynq 0.26's and is read here because its Inspector takes a round trip for each queue; a test compares the two.
func asynqKey(queue, part string) string { return "asynq:{" + queue + "}:" + part }
