"""The words that made-up films are named and tagged with, by genre."""

from __future__ import annotations

GENRES = (
    "Drama",
    "Comedy",
    "Thriller",
    "Romance",
    "Action",
    "Crime",
    "Adventure",
    "Horror",
    "Sci-Fi",
    "Fantasy",
    "Mystery",
    "Children",
    "Animation",
    "Documentary",
    "War",
    "Musical",
    "Western",
    "Film-Noir",
)

NOUNS: dict[str, str] = {
    "Drama": "Orchard Harbour Inheritance Winter Confession Lighthouse Daughter Silence Vineyard Ferry "
    "Letter Promise Garden "
    "Homecoming River Widow Piano Border Summer Verdict Carpenter Bridge Season Mother Window Schoolteacher",
    "Comedy": "Wedding Landlord Cousin Parade Honeymoon Roommate Casserole Bachelor Neighbour Vacation "
    "Chauffeur Diet Karaoke "
    "Divorce Mayor Barbecue Impostor Babysitter Lottery Matchmaker Dentist Uncle Motel Golfer",
    "Thriller": "Informant Witness Cipher Alibi Hostage Protocol Pursuit Deadline Suspect Surveillance "
    "Checkpoint Double Exit "
    "Conspiracy Courier Blackout Threshold Trap Signal Tunnel Operative Ransom",
    "Romance": "Kiss Valentine Waltz Rendezvous Moonlight Proposal Balcony Sweetheart Postcard Serenade "
    "Bouquet Affair Bride "
    "Stranger Embrace Rain Cafe Anniversary Lover Tango Heart",
    "Action": "Vengeance Strike Convoy Commando Fury Detonator Squad Fist Hunter Bullet Siege Overdrive "
    "Rampage Outlaw Mercenary "
    "Showdown Inferno Escape Avenger Thunder Collision",
    "Crime": "Heist Syndicate Detective Safecracker Getaway Racket Racketeer Verdict Fence Precinct Jury "
    "Kingpin Accomplice Payroll "
    "Forger Jackpot Gambler Diamond Warden Alley Contract",
    "Adventure": "Expedition Cartographer Compass Voyage Caravan Treasure Navigator Summit Jungle Island "
    "Explorer Horizon Pearl "
    "Desert Lagoon Pirate Odyssey Glacier Map Canyon Passage",
    "Horror": "Crypt Scarecrow Asylum Possession Cellar Séance Shadow Grave Whisper Ritual Fog Doll Butcher "
    "Mirror Haunting Curse "
    "Swamp Attic Coven Stitch Nightmare",
    "Sci-Fi": "Android Orbit Colony Nebula Signal Clone Eclipse Paradox Satellite Starship Frequency Quasar "
    "Replica Exodus Module "
    "Singularity Visitor Reactor Comet Machine Horizon",
    "Fantasy": "Dragon Enchantress Kingdom Sorcerer Unicorn Prophecy Amulet Realm Griffin Spell Goblin Crown "
    "Sword Oracle Wanderer "
    "Labyrinth Throne Phoenix Forest Rune",
    "Mystery": "Secret Riddle Portrait Footprint Library Key Vanishing Clue Locket Stranger Manor Inspector "
    "Clock Corridor Diary "
    "Masquerade Testament Lodger Raven Puzzle",
    "Children": "Puppy Balloon Treehouse Kitten Birthday Snowman Circus Rocket Puddle Teddy Hamster Pancake "
    "Scooter Pony Marmalade "
    "Penguin Playground Firefly Mitten Duckling",
    "Animation": "Fox Robot Acorn Beetle Toymaker Cloud Mouse Owl Pumpkin Tortoise Lantern Whale Sparrow "
    "Otter Bear Squirrel Bubble "
    "Moon Frog Dandelion",
    "Documentary": "Archive Glacier Orchestra Reef Election Harvest Kitchen Marathon Factory Migration Climb "
    "Radio Brass "
    "Newsroom Ocean Honey Dam Velodrome Steel",
    "War": "Battalion Trench Armistice Regiment Bugle Frontline Sergeant Ridge Convoy Minefield Beachhead "
    "Medic Garrison Barricade "
    "Bomber Ceasefire Platoon Flag Bunker Letter",
    "Musical": "Melody Chorus Ballroom Rhythm Cabaret Trumpet Broadway Encore Footlights Duet Serenade "
    "Jukebox Carousel Spotlight "
    "Tambourine Lullaby Marquee Showboat Swing",
    "Western": "Gunslinger Saddle Canyon Sheriff Mesa Stagecoach Rustler Prairie Frontier Marshal Ranch "
    "Outpost Coyote Spur "
    "Homestead Noose Stampede Bounty Creek Rider",
    "Film-Noir": "Alley Dame Cigarette Nightclub Shadow Pistol Boulevard Stranger Detour Blonde Fedora "
    "Harbor Staircase Neon Widow "
    "Keyhole Midnight Rain Killer Alibi",
}
ADJECTIVES: dict[str, str] = {
    "": "Last Silent Hidden Broken Long Golden Empty Distant Forgotten Second Secret Quiet Lost Other Northern Old Blue Perfect",
    "Drama": "Unspoken Bitter Tender Ordinary Fragile Faithful",
    "Comedy": "Awkward Accidental Ridiculous Reluctant Clumsy Loud",
    "Thriller": "Deadly Cold Unknown False Final Fatal",
    "Romance": "Sweet Endless Stolen Parisian First Moonlit",
    "Action": "Lethal Savage Burning Rogue Relentless Iron",
    "Crime": "Crooked Dirty Inside Easy Wanted Guilty",
    "Adventure": "Wild Sunken Uncharted Emerald Great Farthest",
    "Horror": "Bleeding Hungry Unholy Crawling Dead Screaming",
    "Sci-Fi": "Electric Quantum Artificial Lunar Orbital Infinite",
    "Fantasy": "Enchanted Winged Crystal Silver Cursed Ancient",
    "Mystery": "Missing Crimson Locked Curious Veiled Vanished",
    "Children": "Little Magic Happy Giant Brave Tiny",
    "Animation": "Flying Clever Curious Sleepy Merry Paper",
    "Documentary": "Living True Unseen American Vanishing Public",
    "War": "Fallen Crimson Bravest Unknown Eastern Frozen",
    "Musical": "Dancing Singing Dazzling Swinging Merry Velvet",
    "Western": "Dusty Lonesome Hanging Wild Crooked Painted",
    "Film-Noir": "Dark Velvet Crooked Naked Midnight Smoky",
}
PLACES = (
    "Valparaiso Lisbon Tangier Kyoto Marseille Havana Odessa Prague Nairobi Buenos_Aires Calcutta "
    "Reykjavik Naples Shanghai Montreal "
    "Galway Trieste Vienna Memphis Savannah Bombay Istanbul Seville Antwerp Santiago Brooklyn Leningrad "
    "Palermo Oslo "
    "Samarkand Bergen Cordoba Hanoi Zanzibar Manila Bruges Tucson Duluth Cheyenne Cardiff Rotterdam "
    "Alexandria Lima Quebec Ghent Bath"
).split()
PEOPLE = (
    "Eleanor Marcus Ines Walter Beatrix Tomas Ruth Oscar Clara Hugo Mabel Felix Nadia Arthur Rosa Leo "
    "Harriet Viktor Amara Silas "
    "Greta Jonah Pearl Emile Sofia Abel Yuki Dorothy Milo Anselm Lucinda Casper Esther Bruno Philippa Otto "
    "Marguerite Ravi Zelda"
).split()
SURNAMES = (
    "Hargrove Valdez Lindqvist Okafor Bellamy Moreau Castellano Whitlock Petrov Tanaka Delacroix Ferreira "
    "Abbott Kowalski Draper "
    "Sinclair Novak Rhodes Carmichael Ibarra Langley Voss Merriweather Quill Sorensen Bright Ashdown "
    "Pemberton Rourke Vance"
).split()
DAYS = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June August October November December"
).split()
NUMBERS = "Two Three Four Five Six Seven Nine Ten Twelve Thirteen Forty A_Hundred A_Thousand".split()

TAGS: dict[str, str] = {
    "Drama": "family,bittersweet,based on a book,thought-provoking,coming of age,slow paced,great acting,grief",
    "Comedy": "funny,witty,slapstick,satire,feel-good,quirky,friendship,deadpan",
    "Thriller": "suspense,twist ending,tense,conspiracy,cat and mouse,fast paced,psychological",
    "Romance": "love story,chemistry,bittersweet romance,wedding,tearjerker,date night,second chances",
    "Action": "explosions,martial arts,car chase,revenge,one-man army,stunts,blockbuster",
    "Crime": "heist,mafia,police,undercover,prison,based on a true story,gangsters",
    "Adventure": "treasure hunt,survival,journey,exotic locations,sea,epic,quest",
    "Horror": "scary,ghosts,gore,haunted house,slasher,jump scares,supernatural",
    "Sci-Fi": "space,time travel,dystopia,artificial intelligence,aliens,mind-bending,cyberpunk",
    "Fantasy": "magic,dragons,mythology,alternate world,fairy tale,sword fights,wizards",
    "Mystery": "whodunit,detective,missing person,plot twist,atmospheric,small town secrets",
    "Children": "family friendly,talking animals,school,toys,holiday,heartwarming",
    "Animation": "hand-drawn,stop motion,beautiful animation,cartoon,for all ages,anime",
    "Documentary": "interviews,nature,politics,music history,true events,archive footage,eye-opening",
    "War": "world war ii,soldiers,anti-war,submarine,resistance,battlefield,vietnam",
    "Musical": "songs,dance,stage adaptation,great soundtrack,jazz,show business",
    "Western": "gunfight,cowboys,frontier,outlaws,revenge ride,desert landscape,spaghetti western",
    "Film-Noir": "femme fatale,hard-boiled,voice-over,black and white,private eye,moral ambiguity",
}
MOODS = ("underrated,cult film,overlong,visually stunning,original,predictable,rewatchable,dialogue,low budget,festival favourite").split(
    ","
)
