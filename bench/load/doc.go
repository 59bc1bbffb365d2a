// Package load is the clients: it puts one kind of load on a proxy and returns
// how much work was done and how long each unit of it took. Errors of clients
// (resets, refusals, timeouts) are counted, not returned: a load continues as
// real clients do, and every wait has a timeout.
//
// A load is prepared by its New function, so that connecting is not measured
// unless it is the subject, then run any number of times, then closed. Its
// methods must be called by one goroutine; two loads can run at the same time.
package load
