import type { Browser as Playwright } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startBelfry, type Server } from "../../js/test/belfry.ts";
import { inBrowsers, type Browser } from "../../js/test/browser/harness.ts";
import { expectAccessible, online, openChat, openWindow, pageURL, pick, said, signIn, stored, write, type Person } from "./site.ts";

inBrowsers((launch) => {
  let server: Server;
  let browser: Browser;
  let playwright: Playwright;
  let people: Person[] = [];
  let names = 0;

  beforeAll(async () => {
    server = await startBelfry("--console");
    browser = await launch();
    playwright = await browser.playwright();
  });
  afterAll(async () => {
    await playwright?.close();
    await browser?.close();
    await server?.end();
  });
  afterEach(async () => {
    const complaints = people.flatMap((p) => p.complaints.map((text) => `${p.name}: ${text}`));
    await Promise.all(people.map((p) => p.context.close()));
    people = [];
    expect(complaints).toEqual([]);
  });

  /** Signs in people that no other test has. */
  const arrive = async (name: string, options = {}): Promise<Person> => {
    const person = await signIn(playwright, server, `${name}-${++names}`, options);
    people.push(person);
    return person;
  };
  /** A connection that fails is logged by the browser itself. */
  const expectOutage = (person: Person): void => {
    person.complaints.splice(0, Infinity, ...person.complaints.filter((text) => !/WebSocket connection|ERR_CONNECTION_REFUSED/.test(text)));
  };

  test("two people chat, and see that the other types, is online and has read", async () => {
    const alice = await arrive("alice");
    const bob = await arrive("bob");
    await openChat(alice, `u:${bob.name}`);
    await write(alice, "Do you hear the bell?");
    await bob.page.locator(".entry.unread", { hasText: alice.name }).getByText("1 unread message").waitFor({ state: "attached" });
    await expect.poll(() => bob.page.title(), { timeout: 60_000 }).toBe("(1) Belfry");
    await bob.page.locator(".entry", { hasText: alice.name }).click();
    await said(bob, "Do you hear the bell?").waitFor();
    await bob.page.locator(".unread-line").waitFor();
    await said(alice, "Do you hear the bell?").locator(".receipt.read").waitFor();
    await bob.page.locator(".composer textarea").pressSequentially("Loud and clear");
    await alice.page.locator(".thread-head .typing").waitFor();
    await bob.page.keyboard.press("Enter");
    await said(alice, "Loud and clear").waitFor();
    await alice.page.locator(".thread-head .avatar .lamp").waitFor();
    await expect.poll(() => bob.page.title(), { timeout: 60_000 }).toBe("Belfry");
  });

  test("what is written while the server is away is sent once it is back, and can be withdrawn before", async () => {
    const alice = await arrive("alice");
    const bob = await arrive("bob");
    await openChat(alice, `u:${bob.name}`);
    await write(alice, "before");
    await openChat(bob, `u:${alice.name}`);
    await said(bob, "before").waitFor();
    await server.kill();
    try {
      await alice.page.locator(".state-lamp:not(.is-online)").waitFor();
      for (const text of ["first", "not this one", "second"]) await write(alice, text);
      await said(alice, "second").locator(".icon-clock").waitFor();
      await pick(alice, "not this one", "Do not send");
      await said(alice, "not this one").waitFor({ state: "detached" });
      await alice.page.locator(".state-lamp .count", { hasText: "2" }).waitFor();
    } finally {
      await server.restart();
    }
    for (const text of ["first", "second"]) {
      await said(bob, text).waitFor();
      await stored(alice, text);
    }
    expect(await bob.page.locator(".message .text").allTextContents()).toEqual(["before", "first", "second"]);
    for (const person of [alice, bob]) expectOutage(person);
  });

  test("a page that is loaded again without a connection shows what the browser holds", async () => {
    const alice = await openWindow(playwright, `alice-${++names}`);
    people.push(alice);
    let cut = false;
    await alice.context.routeWebSocket(/\/v1\/ws$/, (socket) => void (cut ? socket.close() : socket.connectToServer()));
    await alice.page.goto(`${pageURL(server)}#token=${server.token(alice.name)}`);
    await online(alice);
    await openChat(alice, `u:bob-${names}`);
    for (let i = 1; i <= 3; i++) await write(alice, `line ${i}`);
    await stored(alice, "line 3");
    cut = true;
    await alice.page.reload();
    await stored(alice, "line 3");
    await write(alice, "line 4");
    await said(alice, "line 4").locator(".icon-clock").waitFor();
    await alice.page.reload();
    // The outbox and the messages are read one after the other.
    await stored(alice, "line 3");
    await said(alice, "line 4").locator(".icon-clock").waitFor();
    expect(await alice.page.locator(".message .text").allTextContents()).toEqual(["line 1", "line 2", "line 3", "line 4"]);
    await alice.page.locator(".entry", { hasText: `bob-${names}` }).waitFor();
    cut = false;
    await stored(alice, "line 4");
  });

  test("a message is taken back for everybody, or deleted for oneself", async () => {
    const alice = await arrive("alice");
    const bob = await arrive("bob");
    await openChat(alice, `u:${bob.name}`);
    await openChat(bob, `u:${alice.name}`);
    await write(alice, "too early");
    await write(alice, "only for bob");
    await said(bob, "only for bob").waitFor();
    await pick(alice, "too early", "Take back for everybody");
    for (const person of [alice, bob]) await person.page.locator(".gap", { hasText: "A message was taken back" }).waitFor();
    await pick(alice, "only for bob", "Delete for me");
    await alice.page.locator(".gap", { hasText: "A message was deleted" }).waitFor();
    expect(await said(bob, "only for bob").count()).toBe(1);
  });

  test("a group is made, named, joined, moderated, left and dismissed", async () => {
    const alice = await arrive("alice");
    const bob = await arrive("bob");
    const carol = await arrive("carol");
    const { page } = alice;
    const id = `ringers-${names}`;
    await page.getByRole("button", { name: "New chat" }).click();
    await page.getByRole("menuitem", { name: "New group" }).click();
    await page.getByRole("radio", { name: "Public" }).check();
    await page.getByLabel("Name", { exact: true }).fill("Bell ringers");
    await page.getByLabel("Id").fill(id);
    await page.getByLabel("Invite").fill(bob.name);
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByRole("heading", { level: 1, name: "Bell ringers" }).waitFor();
    await write(alice, `@${bob.name} can you bring the rope?`);

    await bob.page.locator(".entry", { hasText: "Bell ringers" }).click();
    await bob.page.locator(".mention.me").waitFor();

    await carol.page.getByRole("button", { name: "New chat" }).click();
    await carol.page.getByRole("menuitem", { name: "Join a group" }).click();
    await carol.page.getByLabel("Id").fill(id);
    await carol.page.getByLabel("A word to the admins").fill("I ring handbells");
    await carol.page.getByRole("button", { name: "Join", exact: true }).click();
    await carol.page.getByText("An admin has to let you in").waitFor();

    await page.getByRole("button", { name: "About this conversation" }).click();
    const panel = page.getByRole("complementary");
    await panel.getByText("I ring handbells").waitFor();
    await panel.getByRole("button", { name: "Let in" }).click();
    await panel.getByRole("heading", { name: "3 members" }).waitFor();

    const about = async (name: string, entry: string): Promise<void> => {
      await panel.getByRole("button", { name: `What to do about ${name}` }).click();
      await page.getByRole("menuitem", { name: entry, exact: true }).click();
    };
    await about(bob.name, "Make admin");
    await panel.locator("li", { hasText: bob.name }).getByText("admin", { exact: true }).waitFor();
    await about(carol.name, "Mute for an hour");
    await panel.locator("li", { hasText: carol.name }).getByText("muted until").waitFor();
    await openChat(carol, `g:${id}`);
    await write(carol, "May I speak?");
    await said(carol, "May I speak?").getByText("Refused: you may not do this").waitFor();

    await about(carol.name, "Remove and ban for a day");
    await page.getByRole("dialog").getByRole("button", { name: "Remove and ban for a day" }).click();
    await panel.getByRole("heading", { name: "2 members" }).waitFor();
    await panel.getByRole("button", { name: "Lift the ban" }).click();
    await panel.getByRole("button", { name: "Lift the ban" }).waitFor({ state: "detached" });

    await panel.getByLabel("Name", { exact: true }).fill("Ringers of the tower");
    await panel.getByRole("button", { name: "Save" }).click();
    await bob.page.getByRole("heading", { level: 1, name: "Ringers of the tower" }).waitFor();
    await expectAccessible(alice, "group");

    await bob.page.getByRole("button", { name: "About this conversation" }).click();
    await bob.page.getByRole("button", { name: "Leave the group" }).click();
    await bob.page.getByRole("dialog").getByRole("button", { name: "Leave the group" }).click();
    await panel.getByRole("heading", { name: "1 member" }).waitFor();
    await panel.getByRole("button", { name: "Dismiss the group" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Dismiss the group" }).click();
    await page.getByRole("heading", { name: "Pick a conversation" }).waitFor();
  });

  test("in a live group people hear each other, and nothing is kept", async () => {
    const alice = await arrive("alice");
    const bob = await arrive("bob");
    const id = `live-${names}`;
    await alice.page.getByRole("button", { name: "New chat" }).click();
    await alice.page.getByRole("menuitem", { name: "New group" }).click();
    await alice.page.getByRole("radio", { name: "Live" }).check();
    await alice.page.getByLabel("Id").fill(id);
    await alice.page.getByRole("button", { name: "Create" }).click();
    await alice.page.locator(".composer textarea").waitFor();
    await bob.page.getByRole("button", { name: "New chat" }).click();
    await bob.page.getByRole("menuitem", { name: "Join a group" }).click();
    await bob.page.getByLabel("Id").fill(id);
    await bob.page.getByRole("button", { name: "Join", exact: true }).click();
    await bob.page.locator(".composer textarea").waitFor();
    await bob.page.getByText("Live ·").waitFor();
    await write(bob, "Is this on?");
    await said(bob, "Is this on?").getByText("stored nowhere").waitFor();
    await said(alice, "Is this on?").waitFor();
  });

  test("whoever is blocked does not come through, until they are let in again", async () => {
    const alice = await arrive("alice");
    const bob = await arrive("bob");
    await openChat(alice, `u:${bob.name}`);
    await write(alice, "hello");
    await alice.page.getByRole("button", { name: "About this conversation" }).click();
    await alice.page.getByRole("complementary").getByRole("button", { name: "Block" }).click();
    await alice.page.getByRole("dialog").getByRole("button", { name: "Block" }).click();
    await alice.page.getByRole("button", { name: "Unblock" }).waitFor();
    await openChat(bob, `u:${alice.name}`);
    await said(bob, "hello").waitFor();
    await write(bob, "can you hear me?");
    await said(bob, "can you hear me?").getByText("Refused").waitFor();
    await alice.page.getByRole("button", { name: "Unblock" }).click();
    await alice.page.getByRole("complementary").getByRole("button", { name: "Block" }).waitFor();
    await pick(bob, "can you hear me?", "Send again");
    await said(alice, "can you hear me?").waitFor();
  });

  test("conversations are pinned, muted, marked, filtered and removed", async () => {
    const alice = await arrive("alice");
    const { page } = alice;
    for (const name of ["bob", "carol", "dave"]) {
      await openChat(alice, `u:${name}-${names}`);
      await write(alice, `to ${name}`);
      await stored(alice, `to ${name}`);
    }
    const entries = page.locator(".sidebar .entry .entry-name");
    await openChat(alice, `u:bob-${names}`);
    await page.getByRole("button", { name: "About this conversation" }).click();
    await page.getByRole("button", { name: "Pin", exact: true }).click();
    await page.getByRole("button", { name: "Unpin" }).waitFor();
    await expect.poll(() => entries.allTextContents(), { timeout: 60_000 }).toEqual([`bob-${names}`, `dave-${names}`, `carol-${names}`]);
    await page.getByRole("button", { name: "Mute", exact: true }).click();
    await page.locator(".entry", { hasText: "bob" }).locator(".icon-muted").waitFor();
    await page.getByRole("button", { name: "Mark as unread" }).click();
    await page.locator(".entry.unread", { hasText: "bob" }).waitFor();
    await page.getByRole("searchbox").fill("caro");
    await expect.poll(() => page.locator(".conversations").first().locator(".entry-name").allTextContents(), { timeout: 60_000 }).toEqual([`carol-${names}`]);
    await page.getByRole("searchbox").fill("to dave");
    await page.getByRole("region", { name: "In messages" }).getByText("to dave").waitFor();
    await page.getByRole("searchbox").press("Escape");
    await openChat(alice, `u:carol-${names}`);
    await page.getByRole("button", { name: "Remove from the list" }).click();
    await page.locator(".entry", { hasText: "carol" }).waitFor({ state: "detached" });
  });

  test("everything can be done by the keyboard", async () => {
    const alice = await arrive("alice");
    const { page } = alice;
    await page.keyboard.press("Alt+n");
    await page.getByLabel("User name").fill(`bob-${names}`);
    await page.keyboard.press("Enter");
    await page.locator(".composer textarea").waitFor();
    await write(alice, "one");
    await stored(alice, "one");
    await write(alice, "two");
    await stored(alice, "two");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("Enter");
    await page.getByRole("menu").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("menu").waitFor({ state: "detached" });
    expect(await page.evaluate(() => document.activeElement?.closest(".message")?.textContent)).toContain("one");
    await page.keyboard.press("Escape");
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("TEXTAREA");
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.keyboard.press("Control+k");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.getByRole("heading", { name: "Pick a conversation" }).waitFor();
  });

  test("the focus is where one goes on: after signing in, in a dialog and after it", async () => {
    const alice = await openWindow(playwright, `alice-${++names}`);
    people.push(alice);
    const { page } = alice;
    const focused = (): Promise<string> =>
      page.evaluate(() => {
        const at = document.activeElement;
        return at?.getAttribute("aria-label") ?? (at instanceof HTMLInputElement ? (at.labels?.[0]?.textContent ?? "") : (at?.tagName ?? ""));
      });
    const expectFocus = (what: RegExp): Promise<void> => expect.poll(focused, { timeout: 60_000 }).toMatch(what);
    await page.goto(pageURL(server));
    await page.getByLabel("Token").fill(server.token(alice.name));
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await online(alice);
    await expectFocus(/^New chat$/);
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    await expectFocus(/^New chat$/);

    for (const [entry, field] of [["New chat", /^User name$/], ["New group", /^Private/], ["Join a group", /^Id$/]] as const) {
      await page.getByRole("button", { name: "New chat" }).focus();
      await page.keyboard.press("Enter");
      await page.getByRole("menuitem", { name: entry }).press("Enter");
      await page.getByRole("dialog", { name: entry }).waitFor();
      await expectFocus(field);
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await expectFocus(/^New chat$/);
    }
    await page.keyboard.press("Alt+n");
    await page.getByRole("dialog", { name: "New chat" }).waitFor();
    await page.keyboard.type(`bob-${names}`);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: `bob-${names}` }).waitFor();
    const goesOn = await page.evaluate(() => (matchMedia("(pointer: coarse)").matches ? ".messages" : ".composer textarea"));
    await page.locator(`${goesOn}:focus`).waitFor();
    await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator(`${goesOn}:focus`).waitFor();
  });

  test("on a phone, all that one touches has room for a finger", async () => {
    const alice = await arrive("alice", { viewport: { width: 360, height: 740 } });
    const { page } = alice;
    const expectRoom = async (what: string): Promise<void> => {
      const small = await page.evaluate(() =>
        [...document.querySelectorAll<HTMLElement>("button:not(.link), input, textarea, select, [role=menuitem]")]
          .map((element) => (element.matches("[type=radio], [type=checkbox]") ? (element.closest("label") ?? element) : element))
          .filter((element) => element.checkVisibility() && element.offsetWidth > 0 && (element.offsetWidth < 44 || element.offsetHeight < 44))
          .map((element) => `${element.tagName} ${element.className} ${element.getAttribute("aria-label") ?? element.textContent} ${element.offsetWidth}x${element.offsetHeight}`),
      );
      expect(small, what).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), `${what} is wider than the window`).toBeLessThanOrEqual(0);
    };
    await expectRoom("list");
    await openChat(alice, `u:bob-${names}`);
    await write(alice, "hello");
    await stored(alice, "hello");
    await expectRoom("conversation");
    await page.getByRole("button", { name: "About this conversation" }).click();
    await page.getByRole("complementary").waitFor();
    await expectRoom("details");
    await page.getByRole("complementary").getByRole("button", { name: "Close" }).click();
    await page.getByRole("button", { name: "Back to the list" }).click();
    for (const entry of ["New chat", "New group", "Join a group"]) {
      await page.getByRole("button", { name: "New chat" }).click();
      await expectRoom("menu");
      await page.getByRole("menuitem", { name: entry }).click();
      await page.getByRole("dialog", { name: entry }).waitFor();
      await expectRoom(entry);
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
    }
    await page.getByRole("button", { name: `Your account: ${alice.name}` }).click();
    await page.getByRole("dialog").waitFor();
    await expectRoom("account");
  });

  test("without a connection a group has its name, and nothing newer is promised", async () => {
    const alice = await arrive("alice");
    const { page } = alice;
    const id = `quiet-${names}`;
    await page.getByRole("button", { name: "New chat" }).click();
    await page.getByRole("menuitem", { name: "New group" }).click();
    await page.getByLabel("Name", { exact: true }).fill("Quiet ringers");
    await page.getByLabel("Id").fill(id);
    await page.getByRole("button", { name: "Create" }).click();
    await page.getByRole("heading", { level: 1, name: "Quiet ringers" }).waitFor();
    await write(alice, "one");
    await said(alice, "one").locator("..").locator(".message:not(.pending)").waitFor();
    await page.routeWebSocket(/\/v1\/ws/, (socket) => socket.close());
    await page.reload();
    await said(alice, "one").waitFor();
    await page.locator(".state-lamp:not(.is-online)").waitFor();
    await page.locator(".entry", { hasText: "Quiet ringers" }).waitFor();
    await page.getByRole("heading", { level: 1, name: "Quiet ringers" }).waitFor();
    expect(await page.getByRole("button", { name: "To the newest" }).count()).toBe(0);
    expectOutage(alice);
  });

  test("a pasted token signs in, and signing out erases what the browser holds", async () => {
    const alice = await openWindow(playwright, `alice-${++names}`);
    people.push(alice);
    const { page } = alice;
    await page.goto(pageURL(server));
    await page.getByLabel("Token").fill("not a token");
    await page.getByRole("button", { name: "Enter" }).click();
    await page.getByRole("alert").waitFor();
    await page.getByLabel("Token").fill(server.token(alice.name));
    await page.getByRole("button", { name: "Enter" }).click();
    await online(alice);
    await openChat(alice, `u:bob-${names}`);
    await write(alice, "keep this");
    await stored(alice, "keep this");
    await page.reload();
    await said(alice, "keep this").waitFor();
    await page.getByRole("button", { name: `Your account: ${alice.name}` }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("dialog", { name: "Sign out" }).getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").waitFor();
    await expect.poll(() => page.evaluate(async () => (await indexedDB.databases()).length), { timeout: 60_000 }).toBe(0);
    expect(await page.evaluate(() => localStorage.getItem("belfry.session"))).toBeNull();
  });

  test("a development server asks for no more than a name", async () => {
    const alice = await openWindow(playwright, `alice-${++names}`);
    people.push(alice);
    await alice.context.route("**/console.json", (route) => route.fulfill({ json: { devTokens: true } }));
    await alice.context.route("**/dev/token", (route) => route.fulfill({ json: { token: server.token((route.request().postDataJSON() as { user: string }).user) } }));
    await alice.page.goto(pageURL(server));
    await alice.page.getByLabel("Your name").fill("with spaces");
    await alice.page.keyboard.press("Enter");
    await alice.page.getByRole("alert").waitFor();
    await expectAccessible(alice, "name refused");
    await alice.page.getByLabel("Your name").fill(alice.name);
    await alice.page.keyboard.press("Enter");
    await online(alice);
  });

  for (const colorScheme of ["light", "dark"] as const) {
    test(`every page is accessible, ${colorScheme}`, async () => {
      const visitor = await openWindow(playwright, "visitor", { colorScheme });
      people.push(visitor);
      await visitor.page.goto(pageURL(server));
      await visitor.page.getByLabel("Token").waitFor();
      await expectAccessible(visitor, "sign in");

      const alice = await arrive("alice", { colorScheme });
      const bob = await arrive("bob", { colorScheme, viewport: { width: 390, height: 844 } });
      const { page } = alice;
      await expectAccessible(alice, "empty list");
      await openChat(alice, `u:${bob.name}`);
      await expectAccessible(alice, "empty conversation");
      for (const text of ["See https://example.com/plan", "👍", "مرحبا"]) await write(alice, text);
      await stored(alice, "مرحبا");
      await pick(alice, "مرحبا", "Take back for everybody");
      await page.locator(".gap").waitFor();
      await bob.page.locator(".entry.unread").waitFor();
      await expectAccessible(bob, "list on a phone");
      await bob.page.locator(".entry").click();
      await said(bob, "https://example.com/plan").waitFor();
      await expectAccessible(bob, "conversation on a phone");
      await bob.page.getByRole("button", { name: "About this conversation" }).click();
      await expectAccessible(bob, "details on a phone");
      await bob.page.getByRole("complementary").getByRole("button", { name: "Close" }).click();
      await bob.page.getByRole("button", { name: "Back to the list" }).click();
      await bob.page.locator(".entry").waitFor();

      await said(alice, "👍").locator(".row-focus").focus();
      await page.keyboard.press("Enter");
      await page.getByRole("menu").waitFor();
      await expectAccessible(alice, "menu of a message");
      await page.getByRole("menuitem", { name: "Details" }).click();
      await expectAccessible(alice, "details of a message");
      await page.keyboard.press("Escape");
      for (const entry of ["New chat", "New group", "Join a group"]) {
        await page.getByRole("button", { name: "New chat" }).click();
        await page.getByRole("menuitem", { name: entry }).click();
        await page.getByRole("dialog", { name: entry }).waitFor();
        await expectAccessible(alice, entry);
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
      }
      for (const entry of ["Connection and storage", "Blocked people", "Keys"]) {
        await page.getByRole("button", { name: `Your account: ${alice.name}` }).click();
        await page.getByRole("dialog", { name: alice.name }).waitFor();
        await expectAccessible(alice, "account");
        await page.getByRole("dialog").getByRole("button", { name: entry }).click();
        await page.getByRole("dialog", { name: entry }).waitFor();
        await expectAccessible(alice, entry);
        await page.keyboard.press("Escape");
        await page.getByRole("dialog").waitFor({ state: "detached" });
      }
      await page.getByRole("button", { name: `Your account: ${alice.name}` }).click();
      await page.getByLabel("Language").selectOption("zh");
      await page.getByText("外观").waitFor();
      await expect.poll(() => page.evaluate(() => document.documentElement.lang), { timeout: 60_000 }).toBe("zh");
      await expectAccessible(alice, "Chinese");
    });
  }
}, "chromium");
